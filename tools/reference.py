"""Writes the browsable reference of the API from the comments in the protos.

    python -m tools.reference IMAGE docs/reference.md            write it
    python -m tools.reference IMAGE docs/reference.md --check    compare, and say if it drifted

IMAGE is what `python -m tools.protos --image` makes: every descriptor with every comment.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

HEAD = """\
# API reference

What the gateway answers, service by service. Written by `make docs` from the comments in the
protos; change those, not this page.

A field's type says how it can be absent: *optional* and message fields can be unset, *repeated*
ones can be empty, everything else always has a value. Of the fields marked *one of* at most one is
set.
"""

# Field numbers of descriptor.proto, which the paths of comments are made of.
_MESSAGES, _ENUMS, _SERVICES, _SYNTAX = 4, 5, 6, 12
_FIELDS, _NESTED, _NESTED_ENUMS = 2, 3, 4
_VALUES = 2
_METHODS = 2

_Field = FieldDescriptorProto


def _path_of(number: int, index: int, parent: Sequence[int] = ()) -> tuple[int, ...]:
    return (*parent, number, index)


def _short(name: str) -> str:
    """`.tickgate.v1.Quote` as a reader says it: `Quote`. Foreign names keep their package."""
    name = name.removeprefix(".")
    return re.sub(r"^tickgate\.v\d+\.", "", name)


def _ours(name: str) -> bool:
    return name.startswith(".tickgate.")


def _anchor(heading: str) -> str:
    """The fragment that renderers give a heading: lower case, spaces to dashes, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _link(name: str, *, code: bool = True) -> str:
    shown = f"`{_short(name)}`" if code else _short(name)
    return f"[{shown}](#{_anchor(_short(name))})" if _ours(name) else shown


def _cell(text: str) -> str:
    """A comment on one line, safe inside a table."""
    return " ".join(text.split()).replace("|", "\\|")


def _prose(text: str) -> str:
    """A comment as paragraphs, its indented examples as code blocks."""
    blocks: list[str] = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        lines = block.split("\n")
        blocks.append("\n".join(lines if lines[0].startswith("    ") else map(str.strip, lines)))
    return "\n\n".join(blocks)


@dataclass
class Source:
    """One .proto file with its comments at hand."""

    proto: FileDescriptorProto
    comments: dict[tuple[int, ...], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the comments by what they stand before, without the blank after `//`."""
        for location in self.proto.source_code_info.location:
            said = location.leading_comments or location.trailing_comments
            lines = [line.removeprefix(" ").rstrip() for line in said.split("\n")]
            self.comments[tuple(location.path)] = "\n".join(lines).strip("\n")

    def said(self, *path: int) -> str:
        """The comment at *path*, or nothing."""
        return self.comments.get(path, "")

    @property
    def intro(self) -> str:
        """What the file says at its top."""
        return self.said(_SYNTAX)

    @property
    def title(self) -> str:
        """What the file is about, as a heading."""
        if self.proto.service:
            return self.proto.service[0].name
        stem = Path(self.proto.name).stem.replace("_", " ")
        return stem[0].upper() + stem[1:]


class Reference:
    """The page, built in the order in which it reads."""

    def __init__(self, image: FileDescriptorSet) -> None:
        ours = sorted(
            (file for file in image.file if file.package.startswith("tickgate.")),
            key=lambda file: (not file.service, file.name),
        )
        self.sources = [Source(file) for file in ours]
        self.used = self._users()
        self.lines: list[str] = []

    def page(self) -> str:
        """The whole page."""
        self.lines = [HEAD]
        self._contents()
        for source in self.sources:
            self._file(source)
        return "\n".join(self.lines).rstrip("\n") + "\n"

    # ------------------------------------------------------------------------- who uses what

    def _users(self) -> dict[str, list[str]]:
        """For each message and enum, the messages that hold it."""
        used: dict[str, list[str]] = defaultdict(list)
        for source in self.sources:
            scope = f".{source.proto.package}"
            for name, message in _walk(scope, source.proto.message_type):
                for member in message.field:
                    if member.type_name and name not in used[member.type_name]:
                        used[member.type_name].append(name)
        return used

    # ---------------------------------------------------------------------------- the parts

    def _contents(self) -> None:
        self._add("## Contents")
        services = [source for source in self.sources if source.proto.service]
        rows = []
        for source in services:
            for service in source.proto.service:
                calls = ", ".join(
                    f"[{method.name}](#{_anchor(f'{service.name}.{method.name}')})"
                    for method in service.method
                )
                rows.append(f"| [{service.name}](#{_anchor(service.name)}) | {calls} |")
        self._add("\n".join(["| service | calls |", "|---|---|", *rows]))
        shared = [source for source in self.sources if not source.proto.service]
        listed = []
        for source in shared:
            names = [f".{source.proto.package}.{item.name}" for item in _declared(source.proto)]
            links = ", ".join(_link(name, code=False) for name in names)
            listed.append(f"| [{source.title}](#{_anchor(self._heading(source))}) | {links} |")
        self._add("\n".join(["| shared | messages and enums |", "|---|---|", *listed]))

    def _heading(self, source: Source) -> str:
        """A file's heading, kept apart from that of a message with the same name."""
        return source.title if source.proto.service else f"Shared: {source.title.lower()}"

    def _file(self, source: Source) -> None:
        self._add(f"## {self._heading(source)}")
        if source.intro:
            self._add(_prose(source.intro))
        self._add(f"*[{source.proto.name}](../protos/{source.proto.name})*")
        for index, service in enumerate(source.proto.service):
            self._service(source, service, _path_of(_SERVICES, index))
        scope = f".{source.proto.package}"
        for index, message in enumerate(source.proto.message_type):
            self._message(source, message, scope, _path_of(_MESSAGES, index))
        for index, enum in enumerate(source.proto.enum_type):
            self._enum(source, enum, scope, _path_of(_ENUMS, index))

    def _service(
        self, source: Source, service: ServiceDescriptorProto, path: tuple[int, ...]
    ) -> None:
        self._add(_prose(source.said(*path)))
        for index, method in enumerate(service.method):
            self._add(f"### {service.name}.{method.name}")
            asks = ("stream of " if method.client_streaming else "") + _link(method.input_type)
            gives = ("stream of " if method.server_streaming else "") + _link(method.output_type)
            self._add(f"{asks} → {gives}")
            self._add(_prose(source.said(*_path_of(_METHODS, index, path))))

    def _message(
        self, source: Source, message: DescriptorProto, scope: str, path: tuple[int, ...]
    ) -> None:
        name = f"{scope}.{message.name}"
        self._add(f"### {_short(name)}")
        self._add(_prose(source.said(*path)))
        self._used_by(name)
        entries = {
            f"{name}.{nested.name}": nested
            for nested in message.nested_type
            if nested.options.map_entry
        }
        if message.field:
            rows = ["| field | type | meaning |", "|---|---|---|"]
            for index, member in enumerate(message.field):
                said = _cell(source.said(*_path_of(_FIELDS, index, path)))
                shown = _type(member, message, entries)
                rows.append(f"| `{member.name}` = {member.number} | {shown} | {said} |")
            self._add("\n".join(rows))
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                self._message(source, nested, name, _path_of(_NESTED, index, path))
        for index, enum in enumerate(message.enum_type):
            self._enum(source, enum, name, _path_of(_NESTED_ENUMS, index, path))

    def _enum(
        self, source: Source, enum: EnumDescriptorProto, scope: str, path: tuple[int, ...]
    ) -> None:
        name = f"{scope}.{enum.name}"
        self._add(f"### {_short(name)}")
        self._add(_prose(source.said(*path)))
        self._used_by(name)
        rows = ["| value | meaning |", "|---|---|"]
        for index, value in enumerate(enum.value):
            said = _cell(source.said(*_path_of(_VALUES, index, path)))
            rows.append(f"| `{value.name}` = {value.number} | {said} |")
        self._add("\n".join(rows))

    def _used_by(self, name: str) -> None:
        if self.used.get(name):
            users = ", ".join(_link(user, code=False) for user in self.used[name])
            self._add(f"Used by {users}.")

    def _add(self, block: str) -> None:
        if block:
            self.lines += [block, ""]


def _walk(scope: str, messages: Sequence[DescriptorProto]) -> Iterator[tuple[str, DescriptorProto]]:
    for message in messages:
        name = f"{scope}.{message.name}"
        yield name, message
        yield from _walk(name, message.nested_type)


def _declared(proto: FileDescriptorProto) -> list[DescriptorProto | EnumDescriptorProto]:
    return [*proto.message_type, *proto.enum_type]


def _type(
    member: FieldDescriptorProto, message: DescriptorProto, entries: dict[str, DescriptorProto]
) -> str:
    """A field's type with its presence, as a table cell."""
    entry = entries.get(member.type_name)
    if entry is not None:
        key, value = entry.field
        return f"map of {_plain(key)} to {_plain(value)}"
    shown = _plain(member)
    if member.label == _Field.LABEL_REPEATED:
        return f"repeated {shown}"
    if member.proto3_optional:
        return f"optional {shown}"
    if member.HasField("oneof_index"):
        return f"{shown}, one of *{message.oneof_decl[member.oneof_index].name}*"
    return shown


def _plain(member: FieldDescriptorProto) -> str:
    if member.type_name:
        return _link(member.type_name)
    return f"`{_Field.Type.Name(member.type).removeprefix('TYPE_').lower()}`"


def main() -> int:
    """Read the command line and do as it says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("image", type=Path)
    parser.add_argument("page", type=Path)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args()

    image = FileDescriptorSet.FromString(arguments.image.read_bytes())
    text = Reference(image).page()
    if not arguments.check:
        arguments.page.parent.mkdir(parents=True, exist_ok=True)
        arguments.page.write_text(text, encoding="utf-8")
        return 0
    if arguments.page.is_file() and arguments.page.read_text(encoding="utf-8") == text:
        return 0
    print(f"{arguments.page} is not what the protos say. Run: make docs", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

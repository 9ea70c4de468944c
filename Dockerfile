# The gateway, alone: `make image` builds it. The stand-in for Alpaca is another target of the same file,
# `docker build --target sandbox`; deploy/compose.yaml builds both.
#
#   docker run --rm -p 127.0.0.1:50051:50051 --read-only --cap-drop ALL --security-opt no-new-privileges \
#       -e TICKGATE_IDENTITY__WITHOUT_KEYS="whoever reaches this port may read everything" \
#       -e TICKGATE_ENVIRONMENT=paper -e APCA_API_KEY_ID -e APCA_API_SECRET_KEY tickgate:VERSION
#
# It needs no writable file system: Python's bytecode is compiled while the image is built and never after, logs go to
# standard error, and the gateway keeps no temporary files. Only who sets `log.file`, `audit.file` or `identity.file`
# mounts a volume for it; /var/log/tickgate and /var/lib/tickgate belong to the user it runs as.

FROM python:3.13-slim AS build

# BuildKit's shell stops at the first command of a pipe that fails, too.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /src
COPY constraints.txt ./
# uv at the version and hashes that the constraints name; it then installs all else by them.
RUN awk '/^[^ #]/ { on = /^uv==/ } on' constraints.txt > /tmp/uv.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/uv.txt \
    && python -m venv --without-pip /opt/tickgate \
    && python -m venv --without-pip /opt/sandbox
COPY protos protos
COPY clients/python clients/python
COPY server server
# Both folders at once: the server needs a client of its own version, which no index has yet.
RUN uv pip install --no-cache --no-sources --compile-bytecode --python /opt/tickgate/bin/python \
    --constraint constraints.txt --build-constraint constraints.txt \
    ./clients/python "./server[uvloop]"

FROM build AS build-sandbox

COPY sandbox sandbox
RUN uv pip install --no-cache --no-sources --compile-bytecode --python /opt/sandbox/bin/python \
    --constraint constraints.txt --build-constraint constraints.txt \
    ./sandbox

FROM python:3.13-slim AS sandbox

COPY --from=build-sandbox /opt/sandbox /opt/sandbox
ENV PATH=/opt/sandbox/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 50080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=5s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:50080/sandbox/clock', timeout=5)"]
ENTRYPOINT ["tickgate-sandbox"]
CMD ["serve", "--listen", "0.0.0.0:50080"]

FROM python:3.13-slim

RUN useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin tickgate \
    && install --directory --owner tickgate --group tickgate --mode 0750 /var/log/tickgate /var/lib/tickgate
COPY --from=build /opt/tickgate /opt/tickgate
# Inside a container the loopback address reaches nobody. A gateway that others can reach takes API keys, certificates
# of callers, or the sentence above, and does not start otherwise. The side port tells no prices and takes no keys.
ENV PATH=/opt/tickgate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TICKGATE_LISTEN=0.0.0.0:50051 \
    TICKGATE_HTTP_LISTEN=0.0.0.0:9464
# As numbers, so that an orchestrator sees that it is not root.
USER 10001:10001
EXPOSE 50051 9464
# SIGTERM drains: health turns NOT_SERVING, calls in flight finish. Give it longer than `drain` before SIGKILL.
STOPSIGNAL SIGTERM
# Asks grpc.health.v1, with TLS where the settings say so; no curl needed.
HEALTHCHECK --interval=30s --timeout=10s --start-period=5s --retries=3 CMD ["tickgate-server", "health"]
ENTRYPOINT ["tickgate-server"]
CMD ["serve"]

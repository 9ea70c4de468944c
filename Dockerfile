# The gateway, alone. Builds with `make image`; runs as nobody in particular and writes nowhere.
#
#   docker run --rm -p 50051:50051 -e TICKGATE_ENVIRONMENT=paper \
#       -e APCA_API_KEY_ID -e APCA_API_SECRET_KEY tickgate:VERSION

FROM python:3.13-slim AS build

WORKDIR /src
COPY constraints.txt ./
# uv at the version and hashes that the constraints name; it then installs all else by them.
RUN awk '/^[^ #]/ { on = /^uv==/ } on' constraints.txt > /tmp/uv.txt \
    && pip install --no-cache-dir --no-deps --require-hashes -r /tmp/uv.txt \
    && python -m venv --without-pip /opt/tickgate
COPY protos protos
COPY clients/python clients/python
COPY server server
# Both folders at once: the server needs a client of its own version, which no index has yet.
RUN uv pip install --no-cache --no-sources --compile-bytecode --python /opt/tickgate/bin/python \
    --constraint constraints.txt --build-constraint constraints.txt \
    ./clients/python "./server[uvloop]"

FROM python:3.13-slim

RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tickgate
COPY --from=build /opt/tickgate /opt/tickgate
# Inside a container the loopback address reaches nobody.
ENV PATH=/opt/tickgate/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TICKGATE_LISTEN=0.0.0.0:50051
USER 10001
EXPOSE 50051
# SIGTERM drains: health turns NOT_SERVING, calls in flight finish.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tickgate-server"]
CMD ["serve"]

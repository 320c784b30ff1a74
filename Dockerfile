# Runs a node or a bootstrap node, as NODE_TYPE says: see docs/operations.md.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
RUN python -m venv --without-pip /opt/dht14
WORKDIR /src
COPY conf/requirements.txt conf/
# Exactly these files: pip compares what a registry serves with the hashes.
RUN pip --python /opt/dht14/bin/python install --no-cache-dir --require-hashes --requirement conf/requirements.txt
COPY LICENSE pyproject.toml setup.cfg setup.py ./
COPY conf/config.ini conf/
COPY docs/pypi.md docs/dht14.1 docs/
COPY docs/completion docs/completion
COPY twisted twisted
COPY dht14 dht14
# Remove the tests of Twisted, half of its size. twistd writes its list of plugins here: later nobody may write it.
RUN pip --python /opt/dht14/bin/python install --no-cache-dir --no-deps --no-build-isolation . \
    && pip --python /opt/dht14/bin/python check \
    && pip --python /opt/dht14/bin/python uninstall --yes setuptools \
    && find /opt/dht14 -path '*/twisted/*' -type d -name test -prune -exec rm -r {} + \
    && /opt/dht14/bin/twistd --help >/dev/null
COPY conf/config.ini scripts/container.sh /app/
# Independent of the umask of the checkout.
RUN chmod 0644 /app/config.ini && chmod 0755 /app /app/container.sh

FROM ${BASE_IMAGE}
LABEL org.opencontainers.image.title="DHT-14" \
      org.opencontainers.image.description="A Kademlia distributed hash table: a node or a bootstrap node" \
      org.opencontainers.image.licenses="MIT"
# If a name server is down, the lookup of a seed must not hold up a thread, and with it the end of the process.
ENV PATH=/opt/dht14/bin:$PATH RES_OPTIONS="timeout:1 attempts:2"
COPY --from=build /opt/dht14 /opt/dht14
COPY --from=build /app /app
RUN install --directory --owner=10001 --group=10001 --mode=0700 /app/data
# A number, so that an orchestrator can verify that it is not root.
USER 10001:10001
WORKDIR /app
VOLUME /app/data
EXPOSE 8000/udp 8000/tcp 7400/tcp
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s CMD ["/app/container.sh", "health"]
ENTRYPOINT ["/app/container.sh"]

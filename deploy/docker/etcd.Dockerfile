# Debian's etcd with the libraries it names. `cargo xtask images` builds it into an image.
FROM scratch
LABEL org.opencontainers.image.title="etcd" \
  org.opencontainers.image.description="etcd as Debian builds it, for the example API of catamaran" \
  org.opencontainers.image.licenses="Apache-2.0"
COPY root /
COPY --chown=65532:65532 data /data
USER 65532:65532
EXPOSE 2379 2380
VOLUME /data
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s --retries=3 \
  CMD ["/usr/local/bin/etcdctl", "--command-timeout", "1s", "endpoint", "health"]
ENTRYPOINT ["/usr/local/bin/etcd"]

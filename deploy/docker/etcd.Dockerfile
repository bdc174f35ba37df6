# Debian's etcd with the libraries it names. `cargo xtask images` builds it into an image. With a
# registry at hand, the project's own image does as well: quay.io/coreos/etcd or
# gcr.io/etcd-development/etcd; the programs are in /usr/local/bin there.
FROM scratch
COPY root /
COPY --chown=65532:65532 data /data
USER 65532:65532
EXPOSE 2379 2380
VOLUME /data
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s --retries=3 \
  CMD ["/etcdctl", "--endpoints", "http://127.0.0.1:2379", "--command-timeout", "1s", "endpoint", "health"]
ENTRYPOINT ["/etcd"]

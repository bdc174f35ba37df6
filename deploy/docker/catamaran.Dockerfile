# The balancer: one static program. `cargo xtask images` builds it into an image.
FROM scratch
LABEL org.opencontainers.image.title="catamaran" \
  org.opencontainers.image.description="Load balancer with redundancy built in" \
  org.opencontainers.image.licenses="MIT"
COPY catamaran /catamaran
# What the program is made of, as CycloneDX.
COPY catamaran.cdx.json /catamaran.cdx.json
USER 65532:65532
# The configuration must say `[process] metrics = "127.0.0.1:9100"`, or `0.0.0.0:9100` to be scraped
# from outside: that is where the program is asked for its health.
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s --retries=3 \
  CMD ["/catamaran", "probe", "http://127.0.0.1:9100/ready"]
ENTRYPOINT ["/catamaran"]
CMD ["run", "-c", "/etc/catamaran/catamaran.toml"]

# The balancer: one static program. `cargo xtask images` builds it into an image.
FROM scratch
COPY catamaran /catamaran
USER 65532:65532
# The configuration must say `[process] metrics = "127.0.0.1:9100"`, or `0.0.0.0:9100` to be scraped
# from outside: that is where the program is asked for its health.
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s --retries=3 \
  CMD ["/catamaran", "probe", "http://127.0.0.1:9100/ready"]
ENTRYPOINT ["/catamaran"]
CMD ["run", "-c", "/etc/catamaran/catamaran.toml"]

# The example API: one static program. `cargo xtask images` builds it into an image.
FROM scratch
LABEL org.opencontainers.image.title="catamaran-alerts" \
  org.opencontainers.image.description="The example API of catamaran" \
  org.opencontainers.image.licenses="MIT"
COPY alerts /alerts
USER 65532:65532
ENV ALERTS_LISTEN=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=2s --timeout=2s --start-period=20s --retries=3 \
  CMD ["/alerts", "probe", "http://127.0.0.1:8080/ready"]
ENTRYPOINT ["/alerts"]

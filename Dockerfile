# What docker-compose.yml builds: the API (the default target), the receiver of notifications, and the collector.
#
# A tag can be moved, a digest cannot: docker buildx imagetools inspect IMAGE:TAG prints the digest, to be added to the tag
# as in golang:1.26.8@sha256:… here, and to each image: of docker-compose.yml.

FROM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# Only what is compiled, by name: the context may hold data, logs and secrets.
COPY cmd cmd
COPY internal internal
COPY migrations migrations
COPY observability observability
ARG VERSION=
ENV CGO_ENABLED=0
RUN go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=${VERSION}" -o /out/speedy-bites ./cmd/speedy-bites
RUN go build -trimpath -buildvcs=false -ldflags "-s -w" -o /out/receiver ./observability/stack/receiver/serve
# Directories for the volumes, which take over their owner.
RUN mkdir -p /out/api/logs /out/api/uploads /out/otelcol

# What an image without a shell is asked with how it is: busybox is the program that it is called as.
FROM busybox:1.37.0-musl AS tools

# The receiver of notifications: docker build --target receiver .
FROM scratch AS receiver
COPY --from=tools /bin/busybox /bin/wget
COPY --from=build /out/receiver /usr/local/bin/receiver
USER 65532:65532
EXPOSE 9096
HEALTHCHECK --interval=5s --timeout=5s --retries=5 CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:9096/healthz"]
ENTRYPOINT ["/usr/local/bin/receiver"]
CMD ["-listen", ":9096"]

# The collector, as the user who may read the API's log files, with a directory for what it must not forget:
# docker build --target otel-collector .
FROM otel/opentelemetry-collector-contrib:0.159.0 AS otel-collector
COPY --from=tools /bin/busybox /bin/wget
COPY --from=build --chown=65532:65532 /out/otelcol /var/lib/otelcol
USER 65532:65532
HEALTHCHECK --interval=5s --timeout=5s --retries=5 CMD ["/bin/wget", "-q", "-O", "/dev/null", "http://127.0.0.1:13133/"]

# The API as a static binary in an otherwise empty image.
FROM scratch AS api
# DB_SSL=true verifies against the system's roots.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/speedy-bites /usr/local/bin/speedy-bites
COPY --from=build --chown=65532:65532 /out/api /var/lib/speedy-bites
ENV APP_ENV=production \
    LOG_DIR=/var/lib/speedy-bites/logs \
    UPLOADS_DIR=/var/lib/speedy-bites/uploads
USER 65532:65532
WORKDIR /var/lib/speedy-bites
EXPOSE 4000
# Whether the process works, not whether its database does: to restart it would not bring that back.
HEALTHCHECK --interval=5s --timeout=5s --start-period=10s --retries=5 CMD ["/usr/local/bin/speedy-bites", "check", "--live"]
ENTRYPOINT ["/usr/local/bin/speedy-bites"]
CMD ["serve"]

# The API as a static binary in an otherwise empty image.

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
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.release=${VERSION}" \
    -o /out/speedy-bites ./cmd/speedy-bites
# Directories for the volumes, which take over their owner.
RUN mkdir -p /out/var/logs /out/var/uploads

FROM scratch
# DB_SSL=true verifies against the system's roots.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/speedy-bites /usr/local/bin/speedy-bites
COPY --from=build --chown=65532:65532 /out/var /var/lib/speedy-bites
ENV APP_ENV=production \
    LOG_DIR=/var/lib/speedy-bites/logs \
    UPLOADS_DIR=/var/lib/speedy-bites/uploads
USER 65532:65532
WORKDIR /var/lib/speedy-bites
EXPOSE 4000
# No HEALTHCHECK: it would need a shell and curl, which this image does not have on purpose. `speedy-bites check --live`,
# which needs neither, comes with the preflight command; until then, probe /livez and /readyz from outside.
ENTRYPOINT ["/usr/local/bin/speedy-bites"]
CMD ["serve"]

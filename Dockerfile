# One static binary in an empty image. The build's flags are those of the Makefile.
FROM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN make build version="$VERSION"
RUN mkdir -p /image/data

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /src/bin/claimrail /claimrail
COPY --from=build --chown=65532:65532 /image/data /data
USER 65532:65532
# All that is ever written is below /data; the rest may be read-only. serve listens on
# the container's loopback until CLAIMRAIL_LISTEN and CLAIMRAIL_ALLOW_UNAUTHENTICATED
# say otherwise: whoever opens the port is to know that nobody is asked who they are.
ENV CLAIMRAIL_DATA_DIR=/data
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["/claimrail", "healthy"]
ENTRYPOINT ["/claimrail"]
CMD ["serve"]

# Builds both programs; the image runs omnid as an unprivileged user.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/ ./cmd/omnid ./cmd/omnictl && mkdir /data

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/omnid /out/omnictl /usr/local/bin/
COPY --from=build --chown=nonroot:nonroot /data /data
VOLUME /data
EXPOSE 8000 8053/udp 8053/tcp 9464
ENV OMNID_DATA_DIR=/data
ENTRYPOINT ["/usr/local/bin/omnid"]

# syntax=docker/dockerfile:1
# Merx in one small image, for a Postgres and a Kafka that run elsewhere (DATABASE_URL, KAFKA_BROKERS): see compose.yaml.

FROM rust:1.95-slim-bookworm AS build
# librdkafka is compiled from its source, which is C and C++, against the system's OpenSSL.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ libssl-dev make pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
ENV SQLX_OFFLINE=true
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    cargo build --release --locked -p merx && cp target/release/merx /merx

FROM debian:bookworm-slim
# curl for the health check, the certificates for TLS to Postgres, Kafka and Meilisearch.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates curl libssl3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --create-home --home-dir /var/lib/merx merx
COPY --from=build /merx /usr/local/bin/merx
USER merx
WORKDIR /var/lib/merx
ENV MERX_LISTEN=0.0.0.0:8080 MERX_DATA_DIR=/var/lib/merx/data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=6 CMD ["curl", "--fail", "--silent", "--output", "/dev/null", "http://127.0.0.1:8080/readyz"]
ENTRYPOINT ["merx"]
CMD ["serve"]

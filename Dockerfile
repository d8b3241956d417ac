# Builder and final image are both Debian 12: the binary needs the glibc that it was linked against.
FROM rust:1.95-bookworm AS build
WORKDIR /build

# jemalloc knows one size of pages; arm64's kernels have 4, 16 or 64 KiB.
RUN if [ "$(uname -m)" = aarch64 ]; then printf '[env]\nJEMALLOC_SYS_WITH_LG_PAGE = "16"\n' >> "$CARGO_HOME/config.toml"; fi

# The dependencies, in a layer that lasts until a manifest changes. Declared targets, whose files aren't here yet, are cut out.
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
RUN sed -i '/^\[\[/,/^$/d' Cargo.toml \
 && mkdir src && touch src/lib.rs && echo 'fn main() {}' > src/main.rs \
 && cargo build --release --locked \
 && rm -r src

# Cargo compares times: sources older than the layer above would pass for built.
COPY . .
RUN find src -type f -exec touch {} + \
 && cargo build --release --locked \
 && mkdir data

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/onetimeshare /usr/local/bin/onetimeshare
COPY --from=build --chown=65532:65532 /build/data /data
ENV LISTEN=0.0.0.0:8080 DATA_DIR=/data
USER 65532:65532
EXPOSE 8080
# Running transfers get up to five minutes: stop it with a longer grace period.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["onetimeshare", "healthcheck"]
ENTRYPOINT ["onetimeshare"]

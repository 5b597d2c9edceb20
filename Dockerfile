# syntax=docker/dockerfile:1
# Moa, the program alone: no shell, no package manager, no root. `compose.yaml` runs it ten times.

# The same Rust as rust-toolchain.toml, and the same Debian as the image below: the program needs a libc as new as here.
FROM rust:1.95.0-slim-trixie AS build
WORKDIR /build
COPY . .
# What cargo fetches and builds stays in the builder's caches, so the program is moved out of them at once.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist -p moa && cp target/dist/moa /moa

FROM gcr.io/distroless/cc-debian13:nonroot
COPY --from=build /moa /usr/local/bin/moa
# By number, so that an orchestrator can see that it is not root.
USER 65532:65532
# Read 8080, write 8081, admin 8082, ops 8090: each as its setting says, by default on loopback alone.
EXPOSE 8080 8081 8082 8090
# Asks the ops port of a service alone, else the admin listener, by the settings of the container.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/usr/local/bin/moa", "healthcheck"]
# Finishes what was accepted; a second one ends it at once.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/moa"]
CMD ["serve"]

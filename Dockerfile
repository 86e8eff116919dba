# The Linux side: the command, and a GPU in software (Mesa's lavapipe) for engine `vulkan`.
#
#   docker build -t harness .
#   docker run --rm -v "$PWD":/work harness run --suite parity
FROM rust:1.95-trixie AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libvulkan1 mesa-vulkan-drivers \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /src/target/release/harness /usr/local/bin/harness
RUN useradd --create-home harness
USER harness
WORKDIR /work
ENTRYPOINT ["harness"]

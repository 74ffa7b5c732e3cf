#!/usr/bin/env bash
# Runs Moescope's kernel and engine tests on this machine's real GPU, and times a model on it. Needs no Rust and no
# network; `cargo xtask gpu-check --pack DIR` makes the folder that this script is in.
#
#     DIR/gpu-check.sh [RESULTS]      # logs go to the folder RESULTS; DIR/results where it is not given
#
# Needs: Linux on x86-64 with a C library as new as the building machine's, a GPU with its Vulkan driver, and the Vulkan
# loader (libvulkan.so.1, of Debian's package libvulkan1). A loader that is not installed can be unpacked beside this
# script: `dpkg -x libvulkan1_*.deb DIR/loader`. With NVIDIA's driver in a container, the driver's graphics libraries
# must be there (NVIDIA_DRIVER_CAPABILITIES=all). Where only their manifest is missing, this script writes one.
#
# GPU_CHECK_ANY=1 accepts a software adapter, to try the script.
#
# Exit status: 0 if all tests pass on a real GPU, 1 if a test fails, 2 if there is no real GPU to test.
set -u
here=$(cd "$(dirname "$0")" && pwd)
results=${1:-$here/results}
mkdir -p "$results"
results=$(cd "$results" && pwd)
export MOESCOPE_ROOT=$here/root
export RUST_BACKTRACE=1
# Drivers and fontconfig need folders for their caches.
export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$results} XDG_CACHE_HOME=${XDG_CACHE_HOME:-$results/cache}
export HOME=${HOME:-$results}
chmod +x "$here/golden" "$here/parity" 2>/dev/null

say() { printf '%s\n' "$*" | tee -a "$results/summary.txt"; }
: >"$results/summary.txt"

# The loader, where it was unpacked beside this script.
loader=$(find "$here/loader" -name 'libvulkan.so.1*' 2>/dev/null | head -n 1)
if [ -n "$loader" ]; then
    export LD_LIBRARY_PATH=$(dirname "$loader")${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi

# NVIDIA's driver without its manifest.
folders='/etc/vulkan/icd.d /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d'
manifests=$(find $folders -name '*nvidia*.json' 2>/dev/null)
if [ -z "$manifests" ] && [ -z "${VK_ICD_FILENAMES:-}${VK_DRIVER_FILES:-}" ]; then
    nvidia=$(find /usr/lib /usr/lib64 /usr/local /lib -name 'libGLX_nvidia.so.0' 2>/dev/null | head -n 1)
    if [ -n "$nvidia" ]; then
        printf '{"file_format_version": "1.0.0", "ICD": {"library_path": "%s", "api_version": "1.3.0"}}\n' "$nvidia" \
            >"$results/nvidia_icd.json"
        export VK_DRIVER_FILES=$results/nvidia_icd.json VK_ICD_FILENAMES=$results/nvidia_icd.json
        say "note: the manifest of $nvidia is missing; wrote one"
    fi
fi

# Information that helps to find out why there is no adapter.
{
    date -u
    uname -a
    nvidia-smi
    ldd "$here/golden"
    ls -l /etc/vulkan/icd.d /usr/share/vulkan/icd.d
    find / -xdev \( -name 'libvulkan.so*' -o -name 'libGLX_nvidia.so*' -o -name 'libnvidia-glvkspirv*' \)
    env | grep -E '^(VK_|LD_LIBRARY|NVIDIA|XDG_)'
} >"$results/machine.txt" 2>&1

# run NAME SECONDS PROGRAM ARGUMENTS...: runs the program with a time limit; its log is NAME.txt
run() {
    local name=$1 seconds=$2 begin=$SECONDS code
    shift 2
    timeout --kill-after=10 "$seconds" "$@" >"$results/$name.txt" 2>&1
    code=$?
    if [ "$code" -ge 124 ]; then
        say "$name: ended by signal or after $seconds seconds (exit $code)"
    fi
    say "$name: exit $code, $((SECONDS - begin)) s: $(grep -a '^test result' "$results/$name.txt" | tail -n 1)"
    return "$code"
}

if ! run adapter 60 "$here/golden" --ignored --nocapture a_real_gpu_is_there; then
    say "$(grep -a -v '^$' "$results/adapter.txt" | tail -n 20)"
    say "no real GPU could be used: see $results/adapter.txt and machine.txt"
    [ "${GPU_CHECK_ANY:-0}" = 1 ] || exit 2
fi
say "$(grep -a '^adapter:' "$results/adapter.txt")"

failed=0
# One test at a time: the tests share the GPU, and a lost device must not fail other tests.
run parity "${PARITY_SECONDS:-150}" "$here/parity" --test-threads 1 || failed=1
run golden "${GOLDEN_SECONDS:-300}" "$here/golden" --test-threads 2 || failed=1
run speed "${SPEED_SECONDS:-90}" "$here/golden" --ignored --nocapture --test-threads 1 speed || failed=1
for name in parity golden; do
    grep -a -E '^test .*(FAILED|failed)' "$results/$name.txt" | head -n 40 |
        while read -r line; do say "$name: $line"; done
done
grep -a '^speed:' "$results/speed.txt" | while read -r line; do say "$line"; done
[ "$failed" = 0 ] && say "all tests pass on this adapter" || say "some tests fail: see the logs in $results"
exit "$failed"

#!/bin/sh
# The cost of measuring, against a build with metrics compiled out. Run from the crate's root.
set -eu

# The path of the benchmark's executable, built with these features.
build() {
    cargo bench --bench metrics --no-run "$@" 2>&1 | sed -n 's/^ *Executable .*(\(.*\))$/\1/p'
}

without=$(build --no-default-features --features bundled)
# The two builds do not share a name, but cargo may tidy up: keep this one.
cp "$without" "$without-compiled-out"
with=$(build)
exec "$with" --against "$without-compiled-out"

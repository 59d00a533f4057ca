//! Empty: this package exists to build the benchmarks in the root's folder `benches`.

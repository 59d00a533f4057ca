//! Nothing: the package is there for the benchmarks in the folder `benches` of the root.

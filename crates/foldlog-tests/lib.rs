//! Nothing: the package is there for the tests in the folder `tests` of the root.

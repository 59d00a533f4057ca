//! Empty: this package exists to build the tests in the root's folder `tests`.

//! Private keys in software, sealed at rest.

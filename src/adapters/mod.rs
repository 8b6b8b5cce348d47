//! Implementations of the ports. Named only by `app`.


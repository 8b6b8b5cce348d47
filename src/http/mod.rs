//! Edges: async HTTP on one side, the synchronous services on the other.

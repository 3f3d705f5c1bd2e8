"""The only I/O: one thread, one event loop, which own every gRPC object of a mesh."""

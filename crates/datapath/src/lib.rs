//! How one frame moves: the kernel's bridge path, function by function.

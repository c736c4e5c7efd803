//! Every system call that Portcullis makes.

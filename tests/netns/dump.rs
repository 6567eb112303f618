//! What is in a kernel, as the usual tools tell it.

//! Redis as broker and result backend.

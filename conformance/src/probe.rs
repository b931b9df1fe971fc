//! The probe application.

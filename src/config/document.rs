//! One ordered document out of file, `service_conf_dir` and overlay.

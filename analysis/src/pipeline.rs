//! The stages an image goes through: calibrate, find spots, decide. Pure: no file, no clock, no Kafka.

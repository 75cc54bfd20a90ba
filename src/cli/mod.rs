//! The commands: one file each, with arguments, help and a call; the logic lives below.

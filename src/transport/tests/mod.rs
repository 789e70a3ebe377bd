//! Whole transports on a broker that the test breaks.

mod hostile;
mod lifecycle;
mod load;
mod rig;

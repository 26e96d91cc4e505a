//! OpenMessaging Benchmark: its workload and Kafka driver files are read as they are, and its result file is written, so
//! that charts and histories that exist go on working.

mod convert;
mod driver;
mod result;
mod workload;
mod yaml;

pub use convert::{Plan, plan};
pub use driver::Driver;
pub use result::render as render_result;
pub use workload::{KeyDistributor, OmbWorkload};

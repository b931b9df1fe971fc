//! The rules as data: one file per family.

pub(crate) mod body;
pub(crate) mod bpr;
pub(crate) mod ctx;
pub(crate) mod drp;
pub(crate) mod err;
pub(crate) mod exe;
pub(crate) mod exp;
pub(crate) mod fld;
pub(crate) mod h2;
pub(crate) mod ka;
pub(crate) mod mid;
pub(crate) mod req;
pub(crate) mod rsp;
pub(crate) mod run;
pub(crate) mod sem;
pub(crate) mod shd;
pub(crate) mod smg;
pub(crate) mod spn;
pub(crate) mod tmo;
pub(crate) mod upg;
pub(crate) mod yld;

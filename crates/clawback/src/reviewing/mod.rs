//! Orders in review, and a person's word about them, for the verbs and the operators' HTTP door alike.
//!
//! What follows from a word is the machine's decision. Kept from it is what a person surely does not mean: a word about another
//! doubt than the one that was looked at, and a call that would come too late and end the order as expired, bought or sold or not.

mod listed;
mod resolve;
mod shown;
mod word;
mod words;

pub use listed::{Listed, ListedOrder, ListedReview, list};
pub use resolve::{Resolved, check, object, resolve};
pub use shown::Shown;
pub use word::{Said, Wanted, Word};

//! The program: commands on images, under three names.

mod disk;
mod node;
mod objects;
mod out;
mod personality;
mod text;
mod zero;

use personality::Personality;

fn main() {
    let program = std::env::args().next().unwrap_or_default();
    personality::set(Personality::of(&program));
    out::flush();
}

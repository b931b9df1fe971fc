//! `Guide`: a part of the guide for adapters, held against the test file that its code is taken from.

const GUIDE: &str = include_str!("../../../docs/guide-adapter.md");

/// Where the second part begins.
const COMPIO: &str = "\n## The same on a real runtime: compio\n";

/// How many lines of code an adapter may have.
const BUDGET: usize = 40;

/// Three tests that a part of the guide shows the code beside it: see [`Guide`].
#[macro_export]
macro_rules! guide_tests {
    ($guide:expr) => {
        #[test]
        fn every_block_of_the_guide_is_code_that_runs_here() {
            $guide.shows_code_that_runs();
        }

        #[test]
        fn the_guide_shows_the_whole_adapter() {
            $guide.shows_the_whole_adapter();
        }

        #[test]
        fn the_adapter_keeps_to_its_budget_as_the_guide_says() {
            $guide.says_how_long_it_is();
        }
    };
}

/// A part of the guide, and the source of a test file. Three comments mark what the guide counts:
/// where the adapter starts, where it ends, and the rules that what is beneath it ends with.
pub struct Guide {
    text: &'static str,
    source: &'static str,
}

impl Guide {
    /// The part about the host made of std.
    #[must_use]
    pub fn on_std(source: &'static str) -> Guide {
        Guide { text: parts().0, source }
    }

    /// The part about the host on compio.
    #[must_use]
    pub fn on_compio(source: &'static str) -> Guide {
        Guide { text: parts().1, source }
    }

    /// # Panics
    ///
    /// When a block of code is not in the source as it stands, or there is none.
    pub fn shows_code_that_runs(&self) {
        assert!(!self.blocks().is_empty(), "the guide shows no code");
        for block in self.blocks() {
            assert!(self.source.contains(block), "not in the source as it stands:\n{block}");
        }
    }

    /// # Panics
    ///
    /// When the blocks leave out a part of the adapter.
    pub fn shows_the_whole_adapter(&self) {
        let whole = self.adapter().to_owned();
        let rest = self.blocks().iter().fold(whole, |rest, block| rest.replace(block, ""));
        assert_eq!(rest.trim(), "", "what the guide leaves out");
    }

    /// # Panics
    ///
    /// When the adapter is too long, or the guide says another number of lines.
    pub fn says_how_long_it_is(&self) {
        let code = lines_of_code(self.adapter());
        assert!(code <= BUDGET, "{code} lines of code, {BUDGET} allowed");
        assert!(self.text.contains(&format!("It has {code} lines.")), "it has {code} lines");
        let code =
            lines_of_code(self.between("// The adapter ends here.\n", "/// All rules for hosts"));
        assert!(self.text.contains(&format!("in {code} more")), "{code} lines are beneath it");
    }

    fn blocks(&self) -> Vec<&'static str> {
        let fenced = self.text.split("```rust\n").skip(1);
        fenced.map(|rest| rest.split_once("```").expect("a block has an end").0.trim()).collect()
    }

    fn adapter(&self) -> &'static str {
        self.between("// The adapter starts here.\n", "// The adapter ends here.\n")
    }

    fn between(&self, start: &str, end: &str) -> &'static str {
        let rest = self.source.split_once(start).expect("a start").1;
        rest.split_once(end).expect("an end").0
    }
}

fn parts() -> (&'static str, &'static str) {
    GUIDE.split_once(COMPIO).expect("a part on compio")
}

fn lines_of_code(text: &str) -> usize {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

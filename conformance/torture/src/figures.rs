//! Figures in a page of the documentation, between two lines that mark them.

use std::{fs, path::Path};

/// Puts `text` into the file between the lines `<!-- mark -->` and `<!-- /mark -->`, in place of
/// what is there.
pub(crate) fn put(file: &Path, mark: &str, text: &str) -> Result<(), String> {
    let page =
        fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let page = replaced(&page, mark, text)
        .ok_or_else(|| format!("{} has no lines <!-- {mark} -->", file.display()))?;
    fs::write(file, page).map_err(|e| format!("cannot write {}: {e}", file.display()))
}

fn replaced(page: &str, mark: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- {mark} -->\n");
    let end = format!("<!-- /{mark} -->\n");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::replaced;

    #[test]
    fn what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n";
        assert_eq!(
            replaced(page, "x", "new\n").as_deref(),
            Some("a\n<!-- x -->\nnew\n<!-- /x -->\nb\n")
        );
        assert_eq!(replaced(page, "y", "new\n"), None);
    }
}

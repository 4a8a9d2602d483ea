//! The pictures of `svg` as pixels, with a font that is built in: text is there, and alike, on a
//! machine without any.

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Options, Tree};

use super::RenderedFile;
use super::svg::Picture;

const REGULAR: &[u8] = include_bytes!("../../assets/inter/Inter-Regular.ttf");
const SEMIBOLD: &[u8] = include_bytes!("../../assets/inter/Inter-SemiBold.ttf");

/// Pixels of a unit: a slide of 1920 is filled.
const SCALE: f32 = 2.0;
/// A chart of very many bars is drawn smaller, for a pixel takes four bytes.
const MOST_PIXELS: f32 = 32e6;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the picture {0} could not be read back")]
    Svg(String, #[source] usvg::Error),
    #[error("the picture {0} has no size that could be drawn")]
    Size(String),
    #[error("the picture {name} could not be packed: {why}")]
    Packing { name: String, why: String },
}

pub fn render(pictures: &[Picture]) -> Result<Vec<RenderedFile>, Error> {
    let mut options = Options {
        font_family: "Inter".to_owned(),
        ..Options::default()
    };
    for font in [REGULAR, SEMIBOLD] {
        options.fontdb_mut().load_font_data(font.to_vec());
    }
    pictures
        .iter()
        .map(|Picture { name, svg }| {
            Ok(RenderedFile {
                name: format!("{name}.png"),
                bytes: pixels(name, svg, &options)?,
            })
        })
        .collect()
}

fn pixels(name: &str, svg: &str, options: &Options<'_>) -> Result<Vec<u8>, Error> {
    let tree = Tree::from_str(svg, options).map_err(|error| Error::Svg(name.to_owned(), error))?;
    let (width, height) = (tree.size().width(), tree.size().height());
    let scale = SCALE.min((MOST_PIXELS / (width * height)).sqrt());
    let mut pixmap = Pixmap::new(
        (width * scale).round() as u32,
        (height * scale).round() as u32,
    )
    .ok_or_else(|| Error::Size(name.to_owned()))?;
    resvg::render(
        &tree,
        Transform::from_scale(scale, scale),
        &mut pixmap.as_mut(),
    );
    pixmap.encode_png().map_err(|error| Error::Packing {
        name: name.to_owned(),
        why: error.to_string(),
    })
}

//! The state of the drawer (its tab), of the pointer (the expert under it) and of the stage (its switch).

use crate::ExpertOf;

/// The pages of the drawer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tab {
    /// One token.
    #[default]
    Token,
    /// One expert.
    Expert,
    /// How evenly the work is spread.
    Balance,
    /// Changing the routing.
    Change,
    /// How the model learned.
    Training,
    /// What the model costs.
    Cost,
}

impl Tab {
    /// All tabs, in order.
    pub const ALL: [Self; 6] = [Self::Token, Self::Expert, Self::Balance, Self::Change, Self::Training, Self::Cost];

    /// The name in links, in stories and in message keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Expert => "expert",
            Self::Balance => "balance",
            Self::Change => "change",
            Self::Training => "training",
            Self::Cost => "cost",
        }
    }

    /// The tab with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tab| tab.name() == name)
    }
}

/// The parts of the page that a page of another site can embed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The text box.
    Text,
    /// The picture of one token's way.
    Stage,
    /// The tokens.
    Strip,
    /// The routing map, or the load or the flow.
    Map,
    /// The drawer.
    Drawer,
}

impl Part {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Text, Self::Stage, Self::Strip, Self::Map, Self::Drawer];

    /// Its name in addresses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Stage => "stage",
            Self::Strip => "strip",
            Self::Map => "map",
            Self::Drawer => "drawer",
        }
    }

    /// The parts of a list of names, `stage,strip`; none where a name is no part's, or twice there.
    pub fn list(names: &str) -> Option<Vec<Self>> {
        let mut parts = Vec::new();
        for name in names.split(',') {
            let part = Self::ALL.into_iter().find(|part| part.name() == name)?;
            if parts.contains(&part) {
                return None;
            }
            parts.push(part);
        }
        Some(parts)
    }
}

/// The drawer and the stage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The drawer's tab.
    pub tab: Tab,
    /// On a small screen, whether the drawer is open as a sheet at the bottom.
    pub drawer_open: bool,
    /// The expert under the pointer.
    pub pointed: Option<ExpertOf>,
    /// Whether the stage shows the dense network that the experts replace.
    pub dense: bool,
    /// The page is shown on a projector: larger type, fewer parts.
    pub present: bool,
    /// The parts that are shown, where another page embeds this one; none for all.
    pub embed: Vec<Part>,
}

impl View {
    /// Shows a tab that the visitor chose.
    pub fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.drawer_open = true;
    }
}

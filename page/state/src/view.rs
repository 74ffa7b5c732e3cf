//! What the visitor looks at besides the text: the drawer's tab, the expert under the pointer, the switch of the stage.

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
    /// All there are, in their order.
    pub const ALL: [Self; 6] = [Self::Token, Self::Expert, Self::Balance, Self::Change, Self::Training, Self::Cost];

    /// Its name in links, stories and among the messages.
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

    /// The tab of that name.
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
    /// On a small screen: the drawer is open, as a sheet from below.
    pub drawer_open: bool,
    /// The expert under the pointer.
    pub pointed: Option<ExpertOf>,
    /// The stage shows the large network that the experts replaced.
    pub dense: bool,
    /// The page is shown on a projector: larger type, fewer parts.
    pub present: bool,
    /// The parts that are shown, where another page embeds this one; none for all.
    pub embed: Vec<Part>,
}

impl View {
    /// Shows a tab, because the visitor asked for it.
    pub fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.drawer_open = true;
    }
}

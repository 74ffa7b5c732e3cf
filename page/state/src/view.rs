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

/// The drawer and the stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// The drawer's tab.
    pub tab: Tab,
    /// On a small screen: the drawer is open, as a sheet from below.
    pub drawer_open: bool,
    /// The expert under the pointer.
    pub pointed: Option<ExpertOf>,
    /// The stage shows the large network that the experts replaced.
    pub dense: bool,
}

impl View {
    /// Shows a tab, because the visitor asked for it.
    pub fn show(&mut self, tab: Tab) {
        self.tab = tab;
        self.drawer_open = true;
    }
}

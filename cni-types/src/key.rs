//! The keys of a plugin's configuration as data. A plugin declares them once; tools and pages are
//! checked against the declaration.

/// A key of a configuration, or of an object in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// The name, as the documentation writes it; plugins read it without regard to case.
    pub name: &'static str,
    /// The value it takes.
    pub kind: KeyKind,
}

/// The value that a key takes; `null` is always the same as no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// `true` or `false`.
    Flag,
    /// A number.
    Number,
    /// A text.
    Text,
    /// Anything.
    Any,
    /// A list, each of whose entries is of this kind.
    List(&'static KeyKind),
    /// An object with these keys.
    Object(&'static [Key]),
    /// An object whose keys are names chosen by users, with values of this kind.
    Map(&'static KeyKind),
    /// The section `ipam`; its `type` decides which keys it has.
    Ipam,
}

impl Key {
    /// Returns a key with a value of this kind.
    #[must_use]
    pub const fn new(name: &'static str, kind: KeyKind) -> Self {
        Self { name, kind }
    }

    /// Returns a key with `true` or `false`.
    #[must_use]
    pub const fn flag(name: &'static str) -> Self {
        Self::new(name, KeyKind::Flag)
    }

    /// Returns a key with a number.
    #[must_use]
    pub const fn number(name: &'static str) -> Self {
        Self::new(name, KeyKind::Number)
    }

    /// Returns a key with a text.
    #[must_use]
    pub const fn text(name: &'static str) -> Self {
        Self::new(name, KeyKind::Text)
    }

    /// Returns a key with a list of texts.
    #[must_use]
    pub const fn texts(name: &'static str) -> Self {
        Self::new(name, KeyKind::List(&KeyKind::Text))
    }
}

impl KeyKind {
    /// The section `dns` of configurations and results (spec section 5).
    pub const DNS: Self = Self::Object(&[
        Key::texts("nameservers"),
        Key::text("domain"),
        Key::texts("search"),
        Key::texts("options"),
    ]);

    /// The routes of an `ipam` section, in the form of a result (spec section 5).
    pub const ROUTES: Self = Self::List(&Self::Object(&[
        Key::text("dst"),
        Key::text("gw"),
        Key::number("mtu"),
        Key::number("advmss"),
        Key::number("priority"),
        Key::number("table"),
        Key::number("scope"),
    ]));
}

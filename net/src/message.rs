//! The schema language: `message!` turns a list of fields into a struct and its form on the wire.
//!
//! A field is `name: Type [options] = default`. Its options say in which versions it exists (`since(n)`, `until(n)`),
//! since which it may be null (`nullable_since(n)`, always where nothing is said and the type is an `Option`), whether
//! it is a tagged field (`tag(n)`), and whether a value may be dropped where the version has no place for it
//! (`ignorable`) instead of being an error. A struct that is a message of its own names its versions:
//!
//! ```text
//! message! {
//!     pub struct ListGroupsRequest (versions 0..=5, flexible 3..) {
//!         states_filter: Vec<String> [since(4)],
//!         types_filter: Vec<String> [since(5)],
//!     }
//! }
//! ```

use crate::wire::{Reader, Version, Wire, WireError, Writer};

/// Where a field exists and how it is treated. Built at compile time from the options in `message!`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FieldSpec {
    since: i16,
    until: i16,
    nullable_since: i16,
    tag: Option<u32>,
    ignorable: bool,
}

impl FieldSpec {
    /// A plain field of every version.
    pub(crate) const ALWAYS: Self =
        Self { since: 0, until: i16::MAX, nullable_since: 0, tag: None, ignorable: false };

    pub(crate) const fn since(self, since: i16) -> Self {
        Self { since, ..self }
    }
    pub(crate) const fn until(self, until: i16) -> Self {
        Self { until, ..self }
    }
    pub(crate) const fn nullable_since(self, nullable_since: i16) -> Self {
        Self { nullable_since, ..self }
    }
    pub(crate) const fn tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }
    pub(crate) const fn ignorable(self) -> Self {
        Self { ignorable: true, ..self }
    }

    const fn exists(self, version: Version) -> bool {
        self.since <= version.number && version.number <= self.until
    }

    /// Whether the field stands in the plain part of the struct.
    pub(crate) const fn is_plain(self, version: Version) -> bool {
        self.tag.is_none() && self.exists(version)
    }

    /// Whether the field stands among the tagged fields, if it is set.
    pub(crate) const fn is_tagged(self, version: Version) -> bool {
        self.tag.is_some() && self.exists(version)
    }

    /// Whether the field is the tagged field `tag`.
    pub(crate) fn has_tag(self, tag: u32, version: Version) -> bool {
        self.tag == Some(tag) && self.exists(version)
    }

    pub(crate) fn tag_number(self) -> u32 {
        self.tag.expect("only a tagged field is asked for its tag")
    }

    /// Whether a value other than the default is a tagged field or an error in this version.
    pub(crate) const fn counts_when_set(self, version: Version) -> bool {
        self.is_tagged(version) || !self.ignorable
    }

    /// Refuses to drop a value that this version has no place for.
    pub(crate) fn must_exist(self, version: Version, field: &'static str) -> Result<(), WireError> {
        match self.exists(version) {
            true => Ok(()),
            false => Err(WireError::FieldNotInVersion { field, version: version.number }),
        }
    }

    fn check_null(self, null: bool, version: Version, field: &'static str) -> Result<(), WireError> {
        match null && version.number < self.nullable_since {
            true => Err(WireError::UnexpectedNull { field }),
            false => Ok(()),
        }
    }

    pub(crate) fn read<T: Wire>(
        self,
        reader: &mut Reader,
        version: Version,
        field: &'static str,
    ) -> Result<T, WireError> {
        let value = T::read(reader, version)?;
        self.check_null(value.is_null(), version, field)?;
        Ok(value)
    }

    pub(crate) fn write<T: Wire>(
        self,
        value: &T,
        writer: &mut Writer,
        version: Version,
        field: &'static str,
    ) -> Result<(), WireError> {
        self.check_null(value.is_null(), version, field)?;
        value.write(writer, version)
    }
}

#[cfg(feature = "generate")]
impl FieldSpec {
    /// A random value, if the field exists.
    pub(crate) fn generate<T: Wire + crate::generate::Generate>(
        self,
        generator: &mut crate::generate::Generator,
        version: Version,
    ) -> Option<T> {
        let may_be_null = self.nullable_since <= version.number;
        self.exists(version).then(|| {
            loop {
                let value = T::generate(generator, version);
                if may_be_null || !value.is_null() {
                    break value;
                }
            }
        })
    }
}

/// Whether a field holds something other than its default.
pub(crate) fn is_set<T: PartialEq>(value: &T, default: T) -> bool {
    *value != default
}

macro_rules! message {
    ($(
        $(#[$meta:meta])*
        pub struct $name:ident
        $((versions $version_min:literal ..= $version_max:literal $(, flexible $flexible:literal ..)?))?
        {
            $(
                $(#[$field_meta:meta])*
                $field:ident : $type:ty
                $([$($option:ident $(($value:literal))?),+])?
                $(= $default:expr)?
            ),* $(,)?
        }
    )+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $crate::message::default_value!($($default)?),)* }
            }
        }

        const _: () = {
            use $crate::wire::{Nullable, Reader, Version, Wire, WireError, Writer};

            impl Wire for $name {
                fn bytes_min(version: Version) -> usize {
                    let mut sum = usize::from(version.flexible);
                    $(if $crate::message::field_spec!($($($option $(($value))?),+)?).is_plain(version) {
                        sum += <$type>::bytes_min(version);
                    })*
                    sum
                }

                fn read(reader: &mut Reader, version: Version) -> Result<Self, WireError> {
                    #[allow(unused_mut, reason = "a struct may have no fields")]
                    let mut message = Self::default();
                    $({
                        let spec = $crate::message::field_spec!($($($option $(($value))?),+)?);
                        if spec.is_plain(version) {
                            message.$field = spec.read(reader, version, stringify!($field))?;
                        }
                    })*
                    if version.flexible {
                        #[allow(unused_variables, reason = "a struct may have no fields")]
                        reader.tagged_fields(|reader, tag| {
                            $({
                                let spec = $crate::message::field_spec!($($($option $(($value))?),+)?);
                                if spec.has_tag(tag, version) {
                                    message.$field = spec.read(reader, version, stringify!($field))?;
                                    return Ok(true);
                                }
                            })*
                            Ok(false)
                        })?;
                    }
                    Ok(message)
                }

                fn write(&self, writer: &mut Writer, version: Version) -> Result<(), WireError> {
                    #[allow(unused_mut, reason = "a struct may have no fields")]
                    let mut tagged_count = 0;
                    $({
                        let spec = $crate::message::field_spec!($($($option $(($value))?),+)?);
                        if spec.is_plain(version) {
                            spec.write(&self.$field, writer, version, stringify!($field))?;
                        } else if spec.counts_when_set(version)
                            && $crate::message::is_set(&self.$field, $crate::message::default_value!($($default)?))
                        {
                            spec.must_exist(version, stringify!($field))?;
                            tagged_count += 1;
                        }
                    })*
                    if version.flexible {
                        writer.put_unsigned_varint(tagged_count);
                        $({
                            let spec = $crate::message::field_spec!($($($option $(($value))?),+)?);
                            if spec.is_tagged(version) && $crate::message::is_set(&self.$field, $crate::message::default_value!($($default)?)) {
                                writer.put_tagged(spec.tag_number(), |writer| {
                                    spec.write(&self.$field, writer, version, stringify!($field))
                                })?;
                            }
                        })*
                    }
                    Ok(())
                }
            }

            impl Nullable for $name {
                fn read_nullable(reader: &mut Reader, version: Version) -> Result<Option<Self>, WireError> {
                    match i8::read(reader, version)? {
                        ..0 => Ok(None),
                        0.. => Self::read(reader, version).map(Some),
                    }
                }
                fn write_null(writer: &mut Writer, _: Version) {
                    writer.put_slice(&[0xff]);
                }
                fn write_present(writer: &mut Writer) {
                    writer.put_slice(&[1]);
                }
                fn bytes_min_nullable(_: Version) -> usize {
                    1
                }
            }

            #[cfg(feature = "generate")]
            impl $crate::generate::Generate for $name {
                fn generate(generator: &mut $crate::generate::Generator, version: Version) -> Self {
                    #[allow(unused_mut, reason = "a struct may have no fields")]
                    let mut message = Self::default();
                    $({
                        let spec = $crate::message::field_spec!($($($option $(($value))?),+)?);
                        if let Some(value) = spec.generate(generator, version) {
                            message.$field = value;
                        }
                    })*
                    message
                }
            }

            $(
                impl $crate::wire::Message for $name {
                    const NAME: &'static str = stringify!($name);
                    const VERSION_MIN: i16 = $version_min;
                    const VERSION_MAX: i16 = $version_max;
                    const FLEXIBLE_SINCE: i16 = $crate::message::default_flexible!($($flexible)?);
                }
            )?
        };
    )+};
}

/// The default of a field, or of its type.
macro_rules! default_value {
    () => {
        Default::default()
    };
    ($default:expr) => {
        $default
    };
}

/// The first flexible version, or none.
macro_rules! default_flexible {
    () => {
        i16::MAX
    };
    ($flexible:literal) => {
        $flexible
    };
}

/// The options of a field as a constant.
macro_rules! field_spec {
    () => { const { $crate::message::FieldSpec::ALWAYS } };
    ($($option:ident $(($value:literal))?),+) => {
        const { $crate::message::FieldSpec::ALWAYS$(.$option($($value)?))+ }
    };
}

pub(crate) use {default_flexible, default_value, field_spec, message};

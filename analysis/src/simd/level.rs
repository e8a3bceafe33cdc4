//! Which vector instructions this processor has, and the one place where code compiled for them is called.

/// A set of instructions that this processor was seen to have. Made only by [`Level::best`] and [`Level::all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level(pub(super) Set);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// What every processor has.
    pub const PORTABLE: Self = Self(Set::Portable);

    /// The widest that this processor has. Cheap: the answer is kept by the standard library.
    pub fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self(Set::Avx512);
            }
            if is_x86_feature_detected!("avx2") {
                return Self(Set::Avx2);
            }
        }
        Self::PORTABLE
    }

    /// All that this processor has, from the narrowest to the widest, for comparing them.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::PORTABLE];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                all.push(Self(Set::Avx2));
            }
            if Self::best() == Self(Set::Avx512) {
                all.push(Self::best());
            }
        }
        all
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        match self.0 {
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "AVX-512",
        }
    }
}

/// A function whose body is compiled once per level; the level comes as its first argument.
macro_rules! versions {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        pub(crate) fn $name(level: $crate::simd::Level, $($arg: $type),*) $(-> $out)? {
            #[allow(clippy::inline_always)] // a body that is not inlined would not be compiled for the level
            #[inline(always)]
            fn body($($arg: $type),*) $(-> $out)? $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $type),*) $(-> $out)? {
                body($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $type),*) $(-> $out)? {
                body($($arg),*)
            }
            match level.0 {
                $crate::simd::level::Set::Portable => body($($arg),*),
                // SAFETY: `Set::Avx2` is made only where the processor says that it has AVX2.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                $crate::simd::level::Set::Avx2 => unsafe { avx2($($arg),*) },
                // SAFETY: `Set::Avx512` is made only where the processor says that it has all four parts of AVX-512.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                $crate::simd::level::Set::Avx512 => unsafe { avx512($($arg),*) },
            }
        }
    };
}
pub(super) use versions;

//! Cases that hold on whatever the server keeps its shares in.

/// One test per case and store.
macro_rules! on_both_stores {
    ($(fn $case:ident($store:ident) $body:block)+) => {
        $(fn $case($store: crate::server::Store) $body)+

        mod embedded {
            $(#[test] fn $case() { super::$case(crate::server::Store::Embedded) })+
        }

        mod in_redis {
            $(#[test] fn $case() { super::$case(crate::server::Store::Redis) })+
        }
    };
}

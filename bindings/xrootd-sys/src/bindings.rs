// Made from shim.h by bindgen: `UPDATE_BINDINGS=1 cargo test -p xrootd-sys --features bindgen`.

#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xrds_file {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xrds_fs {
    _unused: [u8; 0],
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xrds_status {
    pub status: u16,
    pub code: u16,
    pub server_errno: u32,
    pub message: *const ::std::os::raw::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of xrds_status"][::std::mem::size_of::<xrds_status>() - 16usize];
    ["Alignment of xrds_status"][::std::mem::align_of::<xrds_status>() - 8usize];
    ["Offset of field: xrds_status::status"][::std::mem::offset_of!(xrds_status, status) - 0usize];
    ["Offset of field: xrds_status::code"][::std::mem::offset_of!(xrds_status, code) - 2usize];
    ["Offset of field: xrds_status::server_errno"]
        [::std::mem::offset_of!(xrds_status, server_errno) - 4usize];
    ["Offset of field: xrds_status::message"][::std::mem::offset_of!(xrds_status, message) - 8usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xrds_stat {
    pub size: u64,
    pub mtime: u64,
    pub flags: u32,
    pub id: *const ::std::os::raw::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of xrds_stat"][::std::mem::size_of::<xrds_stat>() - 32usize];
    ["Alignment of xrds_stat"][::std::mem::align_of::<xrds_stat>() - 8usize];
    ["Offset of field: xrds_stat::size"][::std::mem::offset_of!(xrds_stat, size) - 0usize];
    ["Offset of field: xrds_stat::mtime"][::std::mem::offset_of!(xrds_stat, mtime) - 8usize];
    ["Offset of field: xrds_stat::flags"][::std::mem::offset_of!(xrds_stat, flags) - 16usize];
    ["Offset of field: xrds_stat::id"][::std::mem::offset_of!(xrds_stat, id) - 24usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xrds_entry {
    pub name: *const ::std::os::raw::c_char,
    pub host: *const ::std::os::raw::c_char,
    pub stat: *const xrds_stat,
    pub type_: i32,
    pub access: i32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of xrds_entry"][::std::mem::size_of::<xrds_entry>() - 32usize];
    ["Alignment of xrds_entry"][::std::mem::align_of::<xrds_entry>() - 8usize];
    ["Offset of field: xrds_entry::name"][::std::mem::offset_of!(xrds_entry, name) - 0usize];
    ["Offset of field: xrds_entry::host"][::std::mem::offset_of!(xrds_entry, host) - 8usize];
    ["Offset of field: xrds_entry::stat"][::std::mem::offset_of!(xrds_entry, stat) - 16usize];
    ["Offset of field: xrds_entry::type_"][::std::mem::offset_of!(xrds_entry, type_) - 24usize];
    ["Offset of field: xrds_entry::access"][::std::mem::offset_of!(xrds_entry, access) - 28usize];
};
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct xrds_reply {
    pub stat: *const xrds_stat,
    pub data: *const ::std::os::raw::c_char,
    pub data_len: usize,
    pub entries: *const xrds_entry,
    pub entries_len: usize,
    pub transferred: u64,
    pub answered_by: *const ::std::os::raw::c_char,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of xrds_reply"][::std::mem::size_of::<xrds_reply>() - 56usize];
    ["Alignment of xrds_reply"][::std::mem::align_of::<xrds_reply>() - 8usize];
    ["Offset of field: xrds_reply::stat"][::std::mem::offset_of!(xrds_reply, stat) - 0usize];
    ["Offset of field: xrds_reply::data"][::std::mem::offset_of!(xrds_reply, data) - 8usize];
    ["Offset of field: xrds_reply::data_len"][::std::mem::offset_of!(xrds_reply, data_len) - 16usize];
    ["Offset of field: xrds_reply::entries"][::std::mem::offset_of!(xrds_reply, entries) - 24usize];
    ["Offset of field: xrds_reply::entries_len"][::std::mem::offset_of!(xrds_reply, entries_len) - 32usize];
    ["Offset of field: xrds_reply::transferred"][::std::mem::offset_of!(xrds_reply, transferred) - 40usize];
    ["Offset of field: xrds_reply::answered_by"][::std::mem::offset_of!(xrds_reply, answered_by) - 48usize];
};
pub type xrds_done = ::std::option::Option<
    unsafe extern "C" fn(
        ctx: *mut ::std::os::raw::c_void,
        status: *const xrds_status,
        reply: *const xrds_reply,
    ),
>;
unsafe extern "C" {
    pub fn xrds_version() -> u32;
}
unsafe extern "C" {
    pub fn xrds_env_put_int(
        name: *const ::std::os::raw::c_char,
        value: ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    pub fn xrds_env_get_int(
        name: *const ::std::os::raw::c_char,
        value: *mut ::std::os::raw::c_int,
    ) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    pub fn xrds_stop() -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    pub fn xrds_give_way() -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    pub fn xrds_url_host_id(
        url: *const ::std::os::raw::c_char,
        out: *mut ::std::os::raw::c_char,
        cap: usize,
    ) -> usize;
}
unsafe extern "C" {
    pub fn xrds_url_split(
        url: *const ::std::os::raw::c_char,
        out: *mut ::std::os::raw::c_char,
        cap: usize,
    ) -> usize;
}
unsafe extern "C" {
    pub fn xrds_host_name(
        address: *const ::std::os::raw::c_char,
        out: *mut ::std::os::raw::c_char,
        cap: usize,
    ) -> usize;
}
unsafe extern "C" {
    pub fn xrds_fs_new(url: *const ::std::os::raw::c_char) -> *mut xrds_fs;
}
unsafe extern "C" {
    pub fn xrds_fs_delete(fs: *mut xrds_fs);
}
unsafe extern "C" {
    pub fn xrds_fs_stat(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_mv(
        fs: *mut xrds_fs,
        from: *const ::std::os::raw::c_char,
        to: *const ::std::os::raw::c_char,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_rm(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_mkdir(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        parents: ::std::os::raw::c_int,
        mode: u32,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_rmdir(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_chmod(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        mode: u32,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_dirlist(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        with_stat: ::std::os::raw::c_int,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_locate(
        fs: *mut xrds_fs,
        path: *const ::std::os::raw::c_char,
        flags: u32,
        deep: ::std::os::raw::c_int,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_query(
        fs: *mut xrds_fs,
        code: u32,
        arg: *const ::std::os::raw::c_char,
        arg_len: usize,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_fs_ping(fs: *mut xrds_fs, timeout: u32, done: xrds_done, ctx: *mut ::std::os::raw::c_void);
}
unsafe extern "C" {
    pub fn xrds_file_new() -> *mut xrds_file;
}
unsafe extern "C" {
    pub fn xrds_file_delete(file: *mut xrds_file);
}
unsafe extern "C" {
    pub fn xrds_file_is_open(file: *const xrds_file) -> ::std::os::raw::c_int;
}
unsafe extern "C" {
    pub fn xrds_file_open(
        file: *mut xrds_file,
        url: *const ::std::os::raw::c_char,
        flags: u32,
        mode: u32,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_close(
        file: *mut xrds_file,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_stat(
        file: *mut xrds_file,
        force: ::std::os::raw::c_int,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_read(
        file: *mut xrds_file,
        offset: u64,
        size: u32,
        buffer: *mut ::std::os::raw::c_void,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_write(
        file: *mut xrds_file,
        offset: u64,
        size: u32,
        buffer: *const ::std::os::raw::c_void,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_sync(
        file: *mut xrds_file,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_truncate(
        file: *mut xrds_file,
        size: u64,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_fcntl(
        file: *mut xrds_file,
        arg: *const ::std::os::raw::c_char,
        arg_len: usize,
        timeout: u32,
        done: xrds_done,
        ctx: *mut ::std::os::raw::c_void,
    );
}
unsafe extern "C" {
    pub fn xrds_file_property(
        file: *const xrds_file,
        name: *const ::std::os::raw::c_char,
        out: *mut ::std::os::raw::c_char,
        cap: usize,
    ) -> i64;
}
unsafe extern "C" {
    pub fn xrds_file_set_property(
        file: *mut xrds_file,
        name: *const ::std::os::raw::c_char,
        value: *const ::std::os::raw::c_char,
    ) -> ::std::os::raw::c_int;
}

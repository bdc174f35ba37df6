//! The columns of HAProxy's `show stat`, and one row of them.

use std::fmt::{Display, Write as _};

/// Declares [`Column`] from one list, in HAProxy's order.
macro_rules! columns {
    ($($variant:ident $name:literal)*) => {
        /// A column (HAProxy's management guide §9.1).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(dead_code, reason = "columns that stay empty keep the places of the others")]
        pub(super) enum Column {
            $($variant,)*
        }

        /// The names of the columns, in their order.
        pub(super) const NAMES: &[&str] = &[$($name,)*];
    };
}

columns! {
    Pxname "pxname" Svname "svname" Qcur "qcur" Qmax "qmax" Scur "scur" Smax "smax" Slim "slim"
    Stot "stot" Bin "bin" Bout "bout" Dreq "dreq" Dresp "dresp" Ereq "ereq" Econ "econ"
    Eresp "eresp" Wretr "wretr" Wredis "wredis" Status "status" Weight "weight" Act "act"
    Bck "bck" Chkfail "chkfail" Chkdown "chkdown" Lastchg "lastchg" Downtime "downtime"
    Qlimit "qlimit" Pid "pid" Iid "iid" Sid "sid" Throttle "throttle" Lbtot "lbtot"
    Tracked "tracked" Type "type" Rate "rate" RateLim "rate_lim" RateMax "rate_max"
    CheckStatus "check_status" CheckCode "check_code" CheckDuration "check_duration"
    Hrsp1xx "hrsp_1xx" Hrsp2xx "hrsp_2xx" Hrsp3xx "hrsp_3xx" Hrsp4xx "hrsp_4xx"
    Hrsp5xx "hrsp_5xx" HrspOther "hrsp_other" Hanafail "hanafail" ReqRate "req_rate"
    ReqRateMax "req_rate_max" ReqTot "req_tot" CliAbrt "cli_abrt" SrvAbrt "srv_abrt"
    CompIn "comp_in" CompOut "comp_out" CompByp "comp_byp" CompRsp "comp_rsp"
    Lastsess "lastsess" LastChk "last_chk" LastAgt "last_agt" Qtime "qtime" Ctime "ctime"
    Rtime "rtime" Ttime "ttime" AgentStatus "agent_status" AgentCode "agent_code"
    AgentDuration "agent_duration" CheckDesc "check_desc" AgentDesc "agent_desc"
    CheckRise "check_rise" CheckFall "check_fall" CheckHealth "check_health"
    AgentRise "agent_rise" AgentFall "agent_fall" AgentHealth "agent_health" Addr "addr"
    Cookie "cookie" Mode "mode" Algo "algo" ConnRate "conn_rate" ConnRateMax "conn_rate_max"
    ConnTot "conn_tot" Intercepted "intercepted" Dcon "dcon" Dses "dses" Wrew "wrew"
    Connect "connect" Reuse "reuse" CacheLookups "cache_lookups" CacheHits "cache_hits"
    SrvIcur "srv_icur" SrcIlim "src_ilim" QtimeMax "qtime_max" CtimeMax "ctime_max"
    RtimeMax "rtime_max" TtimeMax "ttime_max" Eint "eint" IdleConnCur "idle_conn_cur"
    SafeConnCur "safe_conn_cur" UsedConnCur "used_conn_cur" NeedConnEst "need_conn_est"
    Uweight "uweight"
}

/// One row; what is not set stays empty.
#[derive(Debug)]
pub(super) struct Row([String; NAMES.len()]);

impl Row {
    pub(super) const fn new() -> Self {
        Self([const { String::new() }; NAMES.len()])
    }

    pub(super) fn set(&mut self, column: Column, value: impl Display) {
        let cell = &mut self.0[column as usize];
        cell.clear();
        write!(cell, "{value}").expect("a String takes every write");
    }

    /// Sets what there is.
    pub(super) fn set_some(&mut self, column: Column, value: Option<impl Display>) {
        if let Some(value) = value {
            self.set(column, value);
        }
    }

    /// Appends the line. Like HAProxy's it ends with a comma.
    pub(super) fn write(&self, page: &mut String) {
        for cell in &self.0 {
            push_quoted(page, cell);
            page.push(',');
        }
        page.push('\n');
    }
}

/// Appends the line of names.
pub(super) fn write_names(page: &mut String) {
    page.push_str("# ");
    for name in NAMES {
        page.push_str(name);
        page.push(',');
    }
    page.push('\n');
}

/// A cell that a comma or a quote stands in is quoted (RFC 4180 §2); a break of line becomes a
/// space, since many readers go by lines.
fn push_quoted(page: &mut String, cell: &str) {
    if !cell.contains([',', '"', '\n', '\r']) {
        page.push_str(cell);
        return;
    }
    page.push('"');
    for c in cell.chars() {
        match c {
            '"' => page.push_str("\"\""),
            '\n' | '\r' => page.push(' '),
            other => page.push(other),
        }
    }
    page.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_stands_where_haproxy_has_it() {
        assert_eq!(NAMES.len(), Column::Uweight as usize + 1);
        for (column, place) in [
            (Column::Pxname, 0),
            (Column::Status, 17),
            (Column::Type, 32),
            (Column::CheckDuration, 38),
            (Column::Qtime, 58),
            (Column::Ttime, 61),
        ] {
            assert_eq!(column as usize, place, "{}", NAMES[place]);
        }
    }

    #[test]
    fn what_would_break_a_line_is_quoted() {
        let mut row = Row::new();
        row.set(Column::Pxname, "a,b");
        row.set(Column::Svname, "say \"no\"\nor go");
        let mut page = String::new();
        row.write(&mut page);
        assert!(
            page.starts_with("\"a,b\",\"say \"\"no\"\" or go\",,"),
            "{page}"
        );
        assert_eq!(page.lines().count(), 1);
    }
}

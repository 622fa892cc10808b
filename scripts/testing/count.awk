# Reads what one part of the tests printed, in libtest's words, in TAP or as the table of
# oci-conformance, and prints: passed failed skipped.
/^test result: / {
    for (i = 2; i <= NF; i++) {
        if ($i == "passed;") passed += $(i - 1)
        if ($i == "failed;") failed += $(i - 1)
        if ($i ~ /^ignored;?$/) skipped += $(i - 1)
    }
}
# A test that finds out too late for #[ignore] that it cannot run prints this and returns; libtest calls that passed.
/^skipped/ { passed--; skipped++ }
/^not ok( |$)/ { if (toupper($0) ~ /# *(SKIP|TODO)/) skipped++; else failed++ }
/^ok( |$)/ { if (toupper($0) ~ /# *SKIP/) skipped++; else passed++ }
/^[a-z_]+ +(pass|FAIL|NOT SILENT|cannot pass|may fail|not here) +[0-9.]+s/ {
    if ($2 == "pass") passed++
    else if ($2 == "FAIL" || $2 == "NOT") failed++
    else skipped++
}
END { print passed + 0, failed + 0, skipped + 0 }

//! The bill of materials, in CycloneDX's JSON: every crate that is inside the programs, and MLX.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::packages::{Package, Packages};

/// `wheel` is the line that deploy/fetch-mlx leaves: the wheel's checksum and name.
pub fn write(packages: &Packages, wheel: &str) -> Result<String> {
    let mut components: Vec<Value> = packages.others.iter().map(of_crate).collect();
    components.push(of_wheel(wheel)?);
    let mut mlx_c = of_crate(&packages.mlx_c);
    mlx_c["description"] = json!("of this crate only mlx-c, which is inside it, is compiled in");
    components.push(mlx_c);
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "name": "mlx-fleet",
                "version": env!("CARGO_PKG_VERSION"),
                "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
            },
        },
        "components": components,
    });
    Ok(format!("{bill:#}\n"))
}

fn of_crate(package: &Package) -> Value {
    let Package {
        name,
        version,
        license,
        checksum,
        ..
    } = package;
    let mut component = json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
    });
    if let Some(license) = license {
        // An old way to write it.
        component["licenses"] = json!([{ "expression": license.replace('/', " OR ") }]);
    }
    if let Some(checksum) = checksum {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

fn of_wheel(wheel: &str) -> Result<Value> {
    let parts = wheel.trim().split_once(' ').and_then(|(sum, file)| {
        let mut parts = file.split('-');
        Some((sum, parts.next()?, parts.next()?))
    });
    let (sum, name, version) =
        parts.context("this wheel of MLX has no name: run deploy/fetch-mlx")?;
    let name = name.replace('_', "-");
    Ok(json!({
        "type": "library",
        "name": name,
        "version": version,
        "purl": format!("pkg:pypi/{name}@{version}"),
        "licenses": [{ "expression": "MIT" }],
        "hashes": [{ "alg": "SHA-256", "content": sum }],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_has_a_bill_with_hashes_and_no_crate_of_tests() {
        let packages = Packages::read("x86_64-unknown-linux-gnu").unwrap();
        let wheel = "00ff mlx_cpu-0.32.2-py3-none-manylinux_2_35_x86_64.whl\n";
        let bill: Value = serde_json::from_str(&write(&packages, wheel).unwrap()).unwrap();
        let components = bill["components"].as_array().unwrap();
        let find = |name: &str| {
            components
                .iter()
                .find(|component| component["name"] == name)
        };
        let tokio = find("tokio").unwrap();
        assert_eq!(tokio["hashes"][0]["content"].as_str().unwrap().len(), 64);
        assert_eq!(find("mlx-cpu").unwrap()["purl"], "pkg:pypi/mlx-cpu@0.32.2");
        assert!(find("mlx-rs").is_some() && find("mlx-sys").is_some());
        for test_only in ["proptest", "insta", "xtask"] {
            assert!(find(test_only).is_none(), "{test_only}");
        }
        assert!(of_wheel("rubbish").is_err());
    }
}
